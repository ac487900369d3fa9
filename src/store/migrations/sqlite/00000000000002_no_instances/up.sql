-- What runs is found by the labels of its sandboxes; these rows were never read.
DROP TABLE instances;
