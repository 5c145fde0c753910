;; An endless loop before any call, in the start function.
;; outcome: timeout "500 ms"
;; limit: time_ms
(func $first (loop $again (br $again)))
(start $first)
(func (export "call") (param i32 i32 i32 i32) (result i32) (call $answer (local.get 2) (local.get 3)))
