;; A result that is no UTF-8.
;; outcome: invalid_output
(data (i32.const 2048) "\22\ff\fe\22")
(func (export "call") (param i32 i32 i32 i32) (result i32) (call $answer (i32.const 2048) (i32.const 4)))
