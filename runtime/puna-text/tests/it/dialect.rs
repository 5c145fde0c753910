//! Which dialect a model speaks.

use puna_text::{ChatTemplate, Dialect};

use crate::{bundled, tokenizer};

#[test]
fn templates_and_vocabularies_tell_the_dialect() {
    for (template, tokens, wanted) in [
        // How the template writes calls.
        ("{{ '[TOOL_CALLS][' }}{{ call | tojson }}", &[][..], Some(Dialect::Mistral)),
        ("{{ '[TOOL_CALLS]' + call.name + '[ARGS]' }}", &[], Some(Dialect::Mistral)),
        ("{{- '\\n<tool_call>\\n{\"name\": \"' }}", &["[TOOL_CALLS]"], Some(Dialect::Hermes)),
        ("'{\"name\": \"' + name + '\", \"parameters\": '", &[], Some(Dialect::LlamaJson)),
        (
            r#""{\"name\": \"" + name + "\", \"parameters\": ""#,
            &["<|python_start|>"],
            Some(Dialect::LlamaJson),
        ),
        ("{{ call.name + '(' }}{{ key ~ '=' }}", &["<|python_tag|>"], Some(Dialect::Pythonic)),
        (
            "[func_name1(params_name1=params_value1, params_name2=params_value2...)]",
            &[],
            Some(Dialect::Pythonic),
        ),
        // Forms that are none of these.
        ("<tool_call>\n<function=f>\n<parameter=a>", &["<tool_call>"], None),
        ("<tool_call>f\n<arg_key>a</arg_key>", &["<tool_call>"], None),
        // What the vocabulary has.
        ("{{ messages }}", &["</s>", "[TOOL_CALLS]"], Some(Dialect::Mistral)),
        ("{{ messages }}", &["<|im_end|>", "<tool_call>"], Some(Dialect::Hermes)),
        ("{{ messages }}", &["<|python_tag|>", "<|python_start|>"], Some(Dialect::Pythonic)),
        ("{{ messages }}", &["<|python_tag|>"], Some(Dialect::LlamaJson)),
        ("{{ messages }}", &["</s>"], None),
        ("", &[], None),
    ] {
        assert_eq!(Dialect::detect(template, |token| tokens.contains(&token)), wanted, "{template}");
    }
    let bundled = ChatTemplate::from_folder(&bundled(), &tokenizer()).expect("the bundled template");
    assert_eq!(bundled.dialect(), Some(Dialect::LlamaJson));
}
