use serde::Serialize;

/// The form in which a model writes its tool calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Dialect {
    /// Llama 3.1 and 3.2: `{"name": …, "parameters": {…}}`, several of them apart by `;`, perhaps behind
    /// `<|python_tag|>`.
    #[default]
    LlamaJson,
    /// Llama 3.2 and 4: `[name(key=value, …), …]`, with Python's literals.
    Pythonic,
    /// Hermes and Qwen: `<tool_call>{"name": …, "arguments": {…}}</tool_call>`, each call in its own tags.
    Hermes,
    /// Mistral: `[TOOL_CALLS]` and a JSON array of `{"name": …, "arguments": {…}}`, or, since its tokenizer's
    /// version 11, `[TOOL_CALLS]name[ARGS]{…}`.
    Mistral,
}

/// What templates write whose calls are in none of the dialects: Qwen's coder and GLM put arguments into tags.
const OTHER_FORMS: [&str; 2] = ["<function=", "<arg_key>"];

/// How templates write Python's calls: a name and a parenthesis joined, or an example for the model.
const PYTHON_CALLS: [&str; 6] = ["+ '('", "~ '('", "+ \"(\"", "~ \"(\"", "[func_name", "func_name1("];

impl Dialect {
    /// The dialect in lower-case words joined by `_`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LlamaJson => "llama_json",
            Self::Pythonic => "pythonic",
            Self::Hermes => "hermes",
            Self::Mistral => "mistral",
        }
    }

    /// The dialect that a model was trained on, where that can be seen: how its chat template writes calls, else
    /// the tokens that its vocabulary has for them.
    ///
    /// Templates of other forms, such as calls in XML, have none of these.
    pub fn detect(template: &str, has_token: impl Fn(&str) -> bool) -> Option<Self> {
        let writes = |hints: &[&str]| hints.iter().any(|hint| template.contains(hint));
        if writes(&OTHER_FORMS) {
            None
        } else if writes(&["[TOOL_CALLS]"]) {
            Some(Self::Mistral)
        } else if writes(&["<tool_call>"]) {
            Some(Self::Hermes)
        } else if writes(&PYTHON_CALLS) {
            Some(Self::Pythonic)
        } else if writes(&["{\"name\":", "{\\\"name\\\":"])
            && writes(&["\"parameters\":", "\\\"parameters\\\":"])
        {
            Some(Self::LlamaJson)
        } else {
            let tokens = [
                ("[TOOL_CALLS]", Self::Mistral),
                ("<tool_call>", Self::Hermes),
                ("<|python_start|>", Self::Pythonic),
                ("<|python_tag|>", Self::LlamaJson),
            ];
            tokens.into_iter().find(|(token, _)| has_token(token)).map(|(_, dialect)| dialect)
        }
    }

    /// The texts around calls that models have tokens for. Where such a token is special, it must reach a
    /// [`ToolCallParser`](crate::ToolCallParser) as text: see [`StreamDecoder::keeping`](crate::StreamDecoder::keeping).
    pub fn marks(self) -> &'static [&'static str] {
        match self {
            Self::LlamaJson => &["<|python_tag|>", "<|python_start|>", "<|python_end|>"],
            Self::Pythonic => &["<|python_start|>", "<|python_end|>", "<|python_tag|>"],
            Self::Hermes => &["<tool_call>", "</tool_call>"],
            Self::Mistral => &["[TOOL_CALLS]", "[ARGS]", "[CALL_ID]"],
        }
    }
}

impl std::fmt::Display for Dialect {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.as_str())
    }
}
