;; An error of a kind that does not exist.
;; outcome: internal
(func (export "call") (param i32 i32 i32 i32) (result i32)
    (i32.store8 (i32.const 512) (i32.const 1))
    (i32.store8 (i32.const 520) (i32.const 99))
    (i32.const 512))
