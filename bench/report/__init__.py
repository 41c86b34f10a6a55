"""What was found, for people: tables, sentences, pages, pictures, comparisons, promises. Measures nothing."""
