-- The click log of `hivemill data generate --format text`. For a table outside the warehouse add LOCATION at the end; for
-- Parquet or ORC put STORED AS PARQUET or STORED AS ORC instead of everything from ROW FORMAT on. Hive learns of new days
-- by MSCK REPAIR TABLE click_log.
CREATE EXTERNAL TABLE click_log (
  request_time timestamp,
  user_id      bigint,
  age_band     string,
  gender       string,
  city         string,
  member_level int,
  item_id      bigint,
  category     string,
  brand        string,
  price        double,
  position     int,
  device       string,
  query        array<string>,
  recent_items array<bigint>,
  context      map<string,string>,
  click        int
)
COMMENT 'Impressions of an e-commerce recommender, UTC'
PARTITIONED BY (dt string, hour string)
ROW FORMAT DELIMITED
  FIELDS TERMINATED BY '\001'
  COLLECTION ITEMS TERMINATED BY '\002'
  MAP KEYS TERMINATED BY '\003'
  NULL DEFINED AS '\\N'
STORED AS TEXTFILE;
