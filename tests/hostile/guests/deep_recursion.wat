;; Recursion without end.
;; outcome: internal "call stack exhausted"
;; limit: the stack of a guest
(func $deep (param i32) (result i32) (i32.add (i32.const 1) (call $deep (local.get 0))))
(func (export "call") (param i32 i32 i32 i32) (result i32) (call $deep (i32.const 0)))
