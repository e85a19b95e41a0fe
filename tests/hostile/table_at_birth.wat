;; It wants a table of fifty million elements to begin with.
;; verdict: refused does not start
(table $table 50000000 funcref)
