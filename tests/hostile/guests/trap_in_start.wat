;; A trap in the start function.
;; outcome: internal "unreachable"
(func $first (unreachable))
(start $first)
(func (export "call") (param i32 i32 i32 i32) (result i32) (call $answer (local.get 2) (local.get 3)))
