;; A result that is no JSON.
;; outcome: invalid_output
(data (i32.const 2048) "nope")
(func (export "call") (param i32 i32 i32 i32) (result i32) (call $answer (i32.const 2048) (i32.const 4)))
