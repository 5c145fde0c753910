;; Computing for longer than the processor time of a call, within a long wall time.
;; outcome: timeout "100 ms of processor time"
;; limit: cpu_ms
;; limits: {"time_ms": 60000, "cpu_ms": 100}
(func (export "call") (param i32 i32 i32 i32) (result i32)
    (loop $again (br $again))
    (unreachable))
