;; An import outside of the contract.
;; outcome: refused denied "`wasi:filesystem/types@0.2.0`"
;; form: component
(component
    (import "wasi:filesystem/types@0.2.0" (instance))
    (instance $empty)
    (export "puna:plugin/tools@0.1.0" (instance $empty)))
