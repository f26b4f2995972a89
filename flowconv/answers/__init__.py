"""What people ask of a lake, and what other engines must know to be asked.

1. `registries`: what numbers and addresses mean, by IANA and AWS
2. `addresses`: texts -> addresses -> networks that hold them
3. `tables`: a lake -> its tables' folders, columns and partitions
4. `ddl`: tables -> statements for an engine
5. `questions`, `options`: a question's name -> SQL
6. `descriptions`, `name_tables`, `naming`: files from AWS -> names, each with its time, in a lake
7. `name_columns`: names -> columns of records
8. `querying`: SQL -> a lazy polars query over a lake -> batches of its answer
9. `summing`: a lake's records -> their sums by what a report asks for
10. `reporting`: questions, completeness and status -> the numbers of a report
11. `page`, `report_pages`: a report -> one HTML file
"""
