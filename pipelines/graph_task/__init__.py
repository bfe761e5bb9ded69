"""Tasks on dynamic graphs: which links come next, of which class is an edge or a node.

The steps are those of the series pipeline, each in a module of the same name here.
"""
