;; An endless loop in the allocator, which the host calls to hand over arguments.
;; outcome: timeout "500 ms"
;; limit: time_ms
;; form: module
(module
    (memory (export "memory") 1)
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
        (loop $again (br $again))
        (i32.const 0))
    (func (export "call") (param i32 i32 i32 i32) (result i32) (unreachable)))
