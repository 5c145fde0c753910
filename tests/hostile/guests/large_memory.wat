;; A memory of 125 MiB from the start.
;; outcome: too_large "memory"
;; limit: memory_bytes
;; pages: 2000
(func (export "call") (param i32 i32 i32 i32) (result i32) (call $answer (local.get 2) (local.get 3)))
