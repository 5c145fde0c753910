//! The shapes of published models: the numbers of their configurations, by the names that people call them.

/// Names and configurations.
pub(crate) const SHAPES: [(&str, &str); 11] = [
    ("llama-2-7b", LLAMA_2_7B),
    ("llama-3.1-8b", LLAMA_3_1_8B),
    ("llama-3.2-1b", LLAMA_3_2_1B),
    ("llama-3.2-3b", LLAMA_3_2_3B),
    ("llama-3.3-70b", LLAMA_3_3_70B),
    ("mistral-7b", MISTRAL_7B),
    ("qwen-2.5-0.5b", QWEN_2_5_0_5B),
    ("qwen-2.5-7b", QWEN_2_5_7B),
    ("qwen-3-0.6b", QWEN_3_0_6B),
    ("phi-3-mini", PHI_3_MINI),
    ("gemma-2-2b", GEMMA_2_2B),
];

const LLAMA_2_7B: &str = r#"
{
  "model_type": "llama", "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008,
  "num_hidden_layers": 32, "num_attention_heads": 32, "max_position_embeddings": 4096, "rms_norm_eps": 1e-5,
  "rope_theta": 10000.0, "tie_word_embeddings": false, "bos_token_id": 1, "eos_token_id": 2
}
"#;

const LLAMA_3_1_8B: &str = r#"
{
  "model_type": "llama", "vocab_size": 128256, "hidden_size": 4096, "intermediate_size": 14336,
  "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128,
  "max_position_embeddings": 131072, "rms_norm_eps": 1e-5, "rope_theta": 500000.0,
  "rope_scaling": {
    "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192
  },
  "tie_word_embeddings": false, "bos_token_id": 128000, "eos_token_id": [128001, 128008, 128009]
}
"#;

const LLAMA_3_2_1B: &str = r#"
{
  "model_type": "llama", "vocab_size": 128256, "hidden_size": 2048, "intermediate_size": 8192,
  "num_hidden_layers": 16, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 64,
  "max_position_embeddings": 131072, "rms_norm_eps": 1e-5, "rope_theta": 500000.0,
  "rope_scaling": {
    "rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192
  },
  "tie_word_embeddings": true, "bos_token_id": 128000, "eos_token_id": [128001, 128008, 128009]
}
"#;

const LLAMA_3_2_3B: &str = r#"
{
  "model_type": "llama", "vocab_size": 128256, "hidden_size": 3072, "intermediate_size": 8192,
  "num_hidden_layers": 28, "num_attention_heads": 24, "num_key_value_heads": 8, "head_dim": 128,
  "max_position_embeddings": 131072, "rms_norm_eps": 1e-5, "rope_theta": 500000.0,
  "rope_scaling": {
    "rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192
  },
  "tie_word_embeddings": true, "bos_token_id": 128000, "eos_token_id": [128001, 128008, 128009]
}
"#;

const LLAMA_3_3_70B: &str = r#"
{
  "model_type": "llama", "vocab_size": 128256, "hidden_size": 8192, "intermediate_size": 28672,
  "num_hidden_layers": 80, "num_attention_heads": 64, "num_key_value_heads": 8, "head_dim": 128,
  "max_position_embeddings": 131072, "rms_norm_eps": 1e-5, "rope_theta": 500000.0,
  "rope_scaling": {
    "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192
  },
  "tie_word_embeddings": false, "bos_token_id": 128000, "eos_token_id": [128001, 128008, 128009]
}
"#;

const MISTRAL_7B: &str = r#"
{
  "model_type": "mistral", "vocab_size": 32768, "hidden_size": 4096, "intermediate_size": 14336,
  "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128,
  "max_position_embeddings": 32768, "rms_norm_eps": 1e-5, "rope_theta": 1000000.0, "sliding_window": null,
  "tie_word_embeddings": false, "bos_token_id": 1, "eos_token_id": 2
}
"#;

const QWEN_2_5_0_5B: &str = r#"
{
  "model_type": "qwen2", "vocab_size": 151936, "hidden_size": 896, "intermediate_size": 4864,
  "num_hidden_layers": 24, "num_attention_heads": 14, "num_key_value_heads": 2,
  "max_position_embeddings": 32768, "rms_norm_eps": 1e-6, "rope_theta": 1000000.0,
  "tie_word_embeddings": true, "bos_token_id": 151643, "eos_token_id": [151645, 151643]
}
"#;

const QWEN_2_5_7B: &str = r#"
{
  "model_type": "qwen2", "vocab_size": 152064, "hidden_size": 3584, "intermediate_size": 18944,
  "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4,
  "max_position_embeddings": 32768, "rms_norm_eps": 1e-6, "rope_theta": 1000000.0,
  "tie_word_embeddings": false, "bos_token_id": 151643, "eos_token_id": [151645, 151643]
}
"#;

const QWEN_3_0_6B: &str = r#"
{
  "model_type": "qwen3", "vocab_size": 151936, "hidden_size": 1024, "intermediate_size": 3072,
  "num_hidden_layers": 28, "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128,
  "max_position_embeddings": 40960, "rms_norm_eps": 1e-6, "rope_theta": 1000000.0,
  "tie_word_embeddings": true, "bos_token_id": 151643, "eos_token_id": [151645, 151643]
}
"#;

const PHI_3_MINI: &str = r#"
{
  "model_type": "phi3", "vocab_size": 32064, "hidden_size": 3072, "intermediate_size": 8192,
  "num_hidden_layers": 32, "num_attention_heads": 32, "max_position_embeddings": 4096, "rms_norm_eps": 1e-5,
  "original_max_position_embeddings": 4096, "rope_theta": 10000.0, "sliding_window": 2047,
  "tie_word_embeddings": false, "bos_token_id": 1, "eos_token_id": [32000, 32001, 32007], "pad_token_id": 32000
}
"#;

const GEMMA_2_2B: &str = r#"
{
  "model_type": "gemma2", "vocab_size": 256000, "hidden_size": 2304, "intermediate_size": 9216,
  "num_hidden_layers": 26, "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256,
  "max_position_embeddings": 8192, "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "sliding_window": 4096,
  "query_pre_attn_scalar": 256, "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0,
  "hidden_activation": "gelu_pytorch_tanh", "tie_word_embeddings": true, "bos_token_id": 2,
  "eos_token_id": [1, 107], "pad_token_id": 0
}
"#;
