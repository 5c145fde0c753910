;; Another version of the contract.
;; outcome: refused invalid_input "contract `0.2.0` and this host speaks `0.1.0`"
;; form: component
(component
    (instance $empty)
    (export "puna:plugin/tools@0.2.0" (instance $empty)))
