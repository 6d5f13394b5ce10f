"""ShearletX and its family: masks in a representation."""
