;; A log line of 8 MiB.
;; outcome: too_large "handed over"
;; limit: what a call hands over to the host
;; pages: 200
(import "puna:plugin/log@0.1.0" "write" (func $write (param i32 i32 i32)))
(func (export "call") (param i32 i32 i32 i32) (result i32)
    (call $write (i32.const 1) (i32.const 0) (i32.const 8388608))
    (unreachable))
