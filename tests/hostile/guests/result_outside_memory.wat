;; A result that lies outside of the memory.
;; outcome: internal "out of bounds"
(func (export "call") (param i32 i32 i32 i32) (result i32) (call $answer (i32.const -8) (i32.const 100)))
