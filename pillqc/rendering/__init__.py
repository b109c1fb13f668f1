"""Render pills, with exact masks.

    design.py    what one product looks like: colour, shape, imprint, specks
    grid.py      coordinates, windows, smooth noise, irregular blobs
    imprint.py   strokes of letters, and the height map that they press into the surface
    surface.py   body, lighting, and the specks that good pills carry too
    defects.py   the seven defects; each edits the scene and adds its footprint to the mask
    setting.py   other poses, lamps, tables, cameras and products
    scene.py     one pill from seed to photograph
    dataset.py   data sets on disk
    stream.py    endless batches for training

Lengths are shares of the image side, so a pill looks the same at 64 and at 800 px.
"""
