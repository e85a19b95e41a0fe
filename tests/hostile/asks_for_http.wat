;; It imports outgoing HTTP without a grant.
;; verdict: refused outgoing HTTP
;; world: import wasi:http/types@0.2.6;
(import "wasi:http/types@0.2.6" "[constructor]fields" (func $fields (result i32)))
