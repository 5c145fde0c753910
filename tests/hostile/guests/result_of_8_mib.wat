;; A result of 8 MiB.
;; outcome: too_large
;; limit: result_bytes
;; pages: 200
(func (export "call") (param i32 i32 i32 i32) (result i32) (call $answer (i32.const 0) (i32.const 8388608)))
