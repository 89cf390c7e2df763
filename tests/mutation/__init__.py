"""Changes the code at random and reports which changes no test notices; `make mutate` starts it.

`changes` finds what can be changed, `touched` records which tests run which line, `children` runs tests in a forked
process with a copy of the tree, `plugin` is what pytest loads there, `run` puts them together.
"""
