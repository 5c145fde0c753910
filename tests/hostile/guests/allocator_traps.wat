;; An allocator that traps.
;; outcome: internal
;; form: module
(module
    (memory (export "memory") 1)
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (unreachable))
    (func (export "call") (param i32 i32 i32 i32) (result i32) (unreachable)))
