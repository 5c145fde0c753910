;; Three memories of 25 MiB, each of which would pass alone.
;; outcome: too_large "memory"
;; limit: memory_bytes
(memory 400)
(memory 400)
(memory 400)
(func (export "call") (param i32 i32 i32 i32) (result i32) (call $answer (local.get 2) (local.get 3)))
