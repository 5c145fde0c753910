;; A result one byte longer than it may be.
;; outcome: too_large "262145 bytes"
;; limit: result_bytes
;; pages: 20
(func (export "call") (param i32 i32 i32 i32) (result i32) (call $answer (i32.const 0) (i32.const 262145)))
