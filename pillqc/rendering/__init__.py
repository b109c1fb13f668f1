"""The parts of a rendered pill, in the order in which light meets them.

    grid.py      coordinates in shares of the image side, windows, smooth noise, irregular blobs
    design.py    what one product looks like: colour, shape, imprint, specks
    imprint.py   strokes of letters and the height map that they press into the surface
    surface.py   body, lighting and the specks that good pills carry too
    defects.py   the seven defects; each edits height, colour or shape and adds its footprint
    scene.py     puts them together and takes the photograph

`pillqc.rendering.dataset` is the face of it. All lengths are shares of the image side, so that a
pill looks the same at 64 and at 800 px.
"""
