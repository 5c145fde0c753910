;; A table that grows to ten million elements.
;; outcome: too_large "memory"
;; limit: memory_bytes
(table $t 0 funcref)
(func (export "call") (param i32 i32 i32 i32) (result i32)
    (drop (table.grow $t (ref.null func) (i32.const 10000000)))
    (unreachable))
