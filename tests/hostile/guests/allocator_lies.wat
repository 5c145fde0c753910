;; An allocator that gives an address outside of the memory.
;; outcome: internal
;; form: module
(module
    (memory (export "memory") 1)
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const -2))
    (func (export "call") (param i32 i32 i32 i32) (result i32) (unreachable)))
