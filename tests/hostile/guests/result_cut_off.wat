;; A result that is cut off.
;; outcome: invalid_output
(data (i32.const 2048) "{\"a\":1")
(func (export "call") (param i32 i32 i32 i32) (result i32) (call $answer (i32.const 2048) (i32.const 6)))
