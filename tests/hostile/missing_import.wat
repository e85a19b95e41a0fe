;; It wants an interface that nobody has.
;; verdict: refused imports what this host does not have
;; world: import extra;
(import "test:zoo/extra" "f" (func $f))
