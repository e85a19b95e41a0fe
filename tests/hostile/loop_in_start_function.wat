;; It never comes back from the start function of its module, before any export can be called.
;; verdict: refused does not start: ran for more than
(start $wake)

(func $wake (loop $for_ever (br $for_ever)))
