"""What people look at: the stage table, TensorBoard. Submodules are imported by name."""
