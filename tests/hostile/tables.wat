;; It has many tables, each within bounds, that are too much together.
;; verdict: refused does not start
;; repeat 100: (table 900000 funcref)
