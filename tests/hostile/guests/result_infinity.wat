;; `Infinity` in a result.
;; outcome: invalid_output
(data (i32.const 2048) "{\"a\":Infinity}")
(func (export "call") (param i32 i32 i32 i32) (result i32) (call $answer (i32.const 2048) (i32.const 14)))
