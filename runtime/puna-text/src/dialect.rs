/// The form in which a model writes its tool calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
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
}

impl std::fmt::Display for Dialect {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.as_str())
    }
}
