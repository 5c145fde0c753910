//! An embeddable Llama stack: the facade a host application depends on.
