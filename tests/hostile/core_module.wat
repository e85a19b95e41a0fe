;; It is a core module, not a component.
;; verdict: refused core module
;; form: module

