"""The bill of materials of our images, read from inside of them."""
