;; An endless loop in a call.
;; outcome: timeout "500 ms"
;; limit: time_ms
(func (export "call") (param i32 i32 i32 i32) (result i32)
    (loop $again (br $again))
    (unreachable))
