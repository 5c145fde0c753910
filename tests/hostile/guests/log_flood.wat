;; A hundred thousand log lines.
;; outcome: answers 7
;; limit: log_bytes
;; limits: {"time_ms": 30000}
(import "puna:plugin/log@0.1.0" "write" (func $write (param i32 i32 i32)))
(data (i32.const 2048) "7")
(func (export "call") (param i32 i32 i32 i32) (result i32) (local $left i32)
    (local.set $left (i32.const 100000))
    (loop $again
        (call $write (i32.const 1) (i32.const 2048) (i32.const 1))
        (br_if $again (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
    (call $answer (i32.const 2048) (i32.const 1)))
