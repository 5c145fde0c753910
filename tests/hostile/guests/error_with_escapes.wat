;; An error of 10,000 bytes with the control characters of a terminal.
;; outcome: not_found "�[31mred"
;; limit: error messages
(data (i32.const 2048) "\1b[31mred")
(func (export "call") (param i32 i32 i32 i32) (result i32)
    ;; An error, not-found, with an address and a length.
    (i32.store8 (i32.const 512) (i32.const 1))
    (i32.store8 (i32.const 520) (i32.const 1))
    (i32.store (i32.const 524) (i32.const 2048))
    (i32.store (i32.const 528) (i32.const 10000))
    (i32.const 512))
