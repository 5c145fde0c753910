;; The clock without its grant: the host's error is passed on.
;; outcome: denied "`clock`"
(import "puna:plugin/clock@0.1.0" "now" (func $now (param i32)))
(func (export "call") (param i32 i32 i32 i32) (result i32)
    (call $now (i32.const 512))
    (if (result i32) (i32.load8_u (i32.const 512))
        (then (i32.const 512))
        (else (unreachable))))
