"""The method run by Lightning."""
