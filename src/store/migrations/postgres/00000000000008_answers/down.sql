DROP TABLE instance_answers;
