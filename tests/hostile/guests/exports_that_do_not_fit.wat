;; The name of the contract without its functions.
;; outcome: refused invalid_input "does not fit the contract"
;; form: component
(component
    (instance $empty)
    (export "puna:plugin/tools@0.1.0" (instance $empty)))
