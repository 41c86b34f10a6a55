"""What tests of several directories need, each thing once."""
