;; A table of ten million elements from the start.
;; outcome: refused invalid_input "table"
;; limit: MAX_TABLE_ELEMENTS
(table 10000000 funcref)
(func (export "call") (param i32 i32 i32 i32) (result i32) (call $answer (local.get 2) (local.get 3)))
