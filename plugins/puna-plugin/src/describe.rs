//! From Rust types to what the manifest says, and from JSON to a call.

use schemars::{JsonSchema, generate::SchemaSettings};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use serde_path_to_error::{Path, Segment};

use crate::{
    Content, Error, ErrorKind, Hits, Output, Query,
    loader::{Documents, Source},
};

/// A tool as the manifest shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToolDescription {
    /// The name a model calls it by.
    pub name: String,
    /// What it does, in a sentence for the model.
    pub description: String,
    /// JSON Schema of the arguments, of type `object`.
    pub parameters: Value,
    /// JSON Schema of the result, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Value>,
}

/// A loader as the manifest shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoaderDescription {
    /// The name it is chosen by.
    pub name: String,
    /// What it reads, in a sentence.
    pub description: String,
    /// The media types it reads.
    pub media_types: Vec<String>,
    /// The endings of names that it reads, without the dot.
    pub extensions: Vec<String>,
    /// JSON Schema of the options, of type `object`.
    pub options: Value,
}

/// A retriever as the manifest shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RetrieverDescription {
    /// The name it is chosen by.
    pub name: String,
    /// What it finds, in a sentence.
    pub description: String,
    /// JSON Schema of the options, of type `object`.
    pub options: Value,
}

/// Describes a tool.
pub fn describe<Arguments: JsonSchema, Result_: Output, Failure>(
    name: &str,
    description: &str,
    _function: &impl Fn(Arguments) -> Result<Result_, Failure>,
) -> ToolDescription {
    ToolDescription {
        name: name.to_owned(),
        description: description.to_owned(),
        parameters: schema_of_arguments::<Arguments>(),
        output: Result_::schema(),
    }
}

/// Describes a loader.
pub fn describe_loader<Options: JsonSchema, Failure>(
    name: &str,
    description: &str,
    media_types: &[&str],
    extensions: &[&str],
    _function: &impl Fn(Source, Options) -> Result<Documents, Failure>,
) -> LoaderDescription {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    LoaderDescription {
        name: name.to_owned(),
        description: description.to_owned(),
        media_types: owned(media_types),
        extensions: owned(extensions),
        options: schema_of_arguments::<Options>(),
    }
}

/// Describes a retriever.
pub fn describe_retriever<Options: JsonSchema, Failure>(
    name: &str,
    description: &str,
    _function: &impl Fn(Query, Options) -> Result<Hits, Failure>,
) -> RetrieverDescription {
    RetrieverDescription {
        name: name.to_owned(),
        description: description.to_owned(),
        options: schema_of_arguments::<Options>(),
    }
}

/// The schema of a tool's arguments, a loader's or retriever's options, a configuration.
pub fn schema_of_arguments<Arguments: JsonSchema>() -> Value {
    let mut parameters = schema_of::<Arguments>();
    if let Some(root) = parameters.as_object_mut() {
        // The tool's description says it all; the type's would be read by the model a second time.
        root.shift_remove("description");
        if !root.contains_key("properties") {
            root.insert("properties".to_owned(), Value::Object(Map::new()));
        }
    }
    drop_null_of_optional(&mut parameters);
    in_order(parameters, true)
}

/// The schema of a tool's result.
pub fn schema_of_output<T: JsonSchema>() -> Value {
    in_order(schema_of::<T>(), true)
}

/// Reads the arguments, calls, writes the result.
pub fn run<Arguments: DeserializeOwned, Result_: Output, Failure: Into<Error>>(
    function: &impl Fn(Arguments) -> Result<Result_, Failure>,
    arguments: &str,
) -> Result<Vec<Content>, Error> {
    function(read(arguments)?).map_err(Into::into)?.contents()
}

/// Reads the options and opens.
pub fn open<Options: DeserializeOwned, Failure: Into<Error>>(
    function: &impl Fn(Source, Options) -> Result<Documents, Failure>,
    source: Source,
    options: &str,
) -> Result<Documents, Error> {
    function(source, read(options)?).map_err(Into::into)
}

/// Reads the options and looks.
pub fn retrieve<Options: DeserializeOwned, Failure: Into<Error>>(
    function: &impl Fn(Query, Options) -> Result<Hits, Failure>,
    query: Query,
    options: &str,
) -> Result<Hits, Error> {
    function(query, read(options)?).map_err(Into::into)
}

/// Reads a JSON document; an error points at the place.
fn read<T: DeserializeOwned>(json: &str) -> Result<T, Error> {
    let mut reader = serde_json::Deserializer::from_str(json);
    let parsed = serde_path_to_error::deserialize(&mut reader)
        .map_err(|error| Error::invalid_input(error.inner().to_string()).at(pointer(error.path())))?;
    reader.end().map_err(|error| Error::invalid_input(error.to_string()).at(""))?;
    Ok(parsed)
}

/// The error for a name that nothing of the plugin has.
pub fn unknown(kind: &str, name: &str, known: &[&str]) -> Error {
    Error::new(ErrorKind::NotFound, format!("no {kind} `{name}` here; there are `{}`", known.join("`, `")))
}

/// The JSON Schema in the short form that goes into prompts: nested types in place, without `$schema`,
/// titles and the width of numbers, which cost tokens and tell a model nothing.
fn schema_of<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.meta_schema = None;
        settings.inline_subschemas = true;
    });
    let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    shorten(&mut schema);
    schema
}

fn shorten(schema: &mut Value) {
    if let Some(map) = schema.as_object_mut() {
        map.shift_remove("title");
        if is_numeric(map.get("type")) {
            map.shift_remove("format");
        }
        each_subschema(map, shorten);
    }
}

fn is_numeric(kind: Option<&Value>) -> bool {
    let number = |kind: &Value| matches!(kind.as_str(), Some("number" | "integer"));
    kind.is_some_and(|kind| number(kind) || kind.as_array().is_some_and(|kinds| kinds.iter().any(number)))
}

/// `Option<T>` gives `["string", "null"]`; leaving the argument out says the same in fewer tokens, and
/// a model that has not seen a list of types is not puzzled by one.
fn drop_null_of_optional(parameters: &mut Value) {
    let Some(properties) = parameters.get_mut("properties").and_then(Value::as_object_mut) else { return };
    for property in properties.values_mut() {
        let Some(kind) = property.get_mut("type") else { continue };
        if let Some([one, null]) = kind.as_array().map(Vec::as_slice)
            && null == "null"
        {
            *kind = one.clone();
        }
    }
}

/// Keys in one order, whatever order the derive gave: a root reads `type`, `properties`, the rest,
/// `required`; below it keys are alphabetical. The names of properties keep the order of the fields.
fn in_order(schema: Value, root: bool) -> Value {
    let Value::Object(mut map) = schema else { return schema };
    each_subschema(&mut map, |schema| *schema = in_order(schema.take(), false));
    let rank = |key: &str| match key {
        "type" => 0,
        "properties" => 1,
        "required" => 3,
        _ => 2,
    };
    let mut entries: Vec<_> = map.into_iter().collect();
    entries.sort_by(|(one, _), (other, _)| {
        let by_rank = if root { rank(one).cmp(&rank(other)) } else { std::cmp::Ordering::Equal };
        by_rank.then_with(|| one.cmp(other))
    });
    Value::Object(entries.into_iter().collect())
}

/// Visits the schemas directly below one; never a value (`default`, `enum`, `const`, `examples`).
fn each_subschema(schema: &mut Map<String, Value>, mut visit: impl FnMut(&mut Value)) {
    for (key, value) in schema {
        match (key.as_str(), value) {
            ("properties" | "patternProperties" | "$defs" | "dependentSchemas", Value::Object(schemas)) => {
                schemas.values_mut().for_each(&mut visit);
            }
            ("allOf" | "anyOf" | "oneOf" | "prefixItems", Value::Array(schemas)) => {
                schemas.iter_mut().for_each(&mut visit);
            }
            ("items" | "additionalProperties" | "contains" | "not" | "if" | "then" | "else", schema) => {
                visit(schema)
            }
            _ => {}
        }
    }
}

/// The path as a JSON pointer (RFC 6901).
fn pointer(path: &Path) -> String {
    let mut pointer = String::new();
    for segment in path.iter() {
        match segment {
            Segment::Seq { index } => pointer.push_str(&format!("/{index}")),
            Segment::Map { key } | Segment::Enum { variant: key } => {
                pointer.push('/');
                pointer.push_str(&key.replace('~', "~0").replace('/', "~1"));
            }
            Segment::Unknown => {}
        }
    }
    pointer
}
