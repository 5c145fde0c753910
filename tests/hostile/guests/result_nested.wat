;; A result of 2,000 nested lists.
;; outcome: invalid_output
(func (export "call") (param i32 i32 i32 i32) (result i32)
    (memory.fill (i32.const 2048) (i32.const 91) (i32.const 2000))
    (memory.fill (i32.const 4048) (i32.const 93) (i32.const 2000))
    (call $answer (i32.const 2048) (i32.const 4000)))
